// A moving skeleton on a 2D canvas.
//
// clip record (base64 int16 positions) -> Motion;  Motion, camera, look -> pixels

class Motion {
  constructor(record) {
    const text = atob(record.positions), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    this.values = new Int16Array(bytes.buffer); // (T, V, 3), in steps of `scale` metres from `centre`
    Object.assign(this, {scale: record.scale, centre: record.centre, rate: record.frames_per_second, joints: record.joints.length});
    this.frames = this.values.length / (3 * this.joints);
    this.seconds = this.frames / this.rate;
    this.ground = this.groundTrack(record.landmarks.pelvis);
    this.top = 0; // of all frames, metres over the floor
    for (let i = 1; i < this.values.length; i += 3) this.top = Math.max(this.top, this.values[i] * this.scale + this.centre[1]);
  }

  // The pose at a frame, or between two frames: (V * 3) metres.
  pose(frame, out = new Float32Array(3 * this.joints)) {
    const size = 3 * this.joints, before = Math.max(0, Math.min(Math.floor(frame), this.frames - 1));
    const after = Math.min(before + 1, this.frames - 1), share = Math.min(1, Math.max(0, frame - before));
    for (let i = 0; i < size; i++) {
      const value = this.values[before * size + i];
      out[i] = (value + share * (this.values[after * size + i] - value)) * this.scale + this.centre[i % 3];
    }
    return out;
  }

  // Where the pelvis is over the floor, mean over one second: (T * 2) metres. The camera follows it without swaying.
  groundTrack(pelvis) {
    const half = Math.round(this.rate / 2), track = new Float32Array(2 * this.frames);
    const at = (frame, axis) => {
      const value = this.values[(Math.max(0, Math.min(frame, this.frames - 1)) * this.joints + pelvis) * 3 + axis];
      return value * this.scale + this.centre[axis];
    };
    for (const [slot, axis] of [[0, 0], [1, 2]]) {
      let sum = 0;
      for (let frame = -half; frame <= half; frame++) sum += at(frame, axis);
      for (let frame = 0; frame < this.frames; frame++) {
        track[2 * frame + slot] = sum / (2 * half + 1);
        sum += at(frame + half + 1, axis) - at(frame - half, axis);
      }
    }
    return track;
  }

  groundAt(frame) {
    const f = Math.max(0, Math.min(Math.round(frame), this.frames - 1));
    return [this.ground[2 * f], this.ground[2 * f + 1]];
  }
}

const EYE_HEIGHT = 0.88, CAMERA_METRES = 4.6, MAX_PITCH = 1.45;

// The camera as (x, y, z) metres -> pixels; `orbit` is {yaw, pitch, zoom} and shared by all clips.
function projection(orbit, target, width, height) {
  const [cy, sy, cp, sp] = [Math.cos(orbit.yaw), Math.sin(orbit.yaw), Math.cos(orbit.pitch), Math.sin(orbit.pitch)];
  const focus = 1.9 * Math.min(height, 1.15 * width), distance = CAMERA_METRES / orbit.zoom;
  return (x, y, z) => {
    const dx = x - target[0], dy = y - EYE_HEIGHT, dz = z - target[1];
    const right = cy * dx - sy * dz, toward = sy * dx + cy * dz;
    const near = distance - (sp * dy + cp * toward), size = near > 0.1 ? focus / near : NaN; // NaN: behind the camera, not drawn
    return [width / 2 + right * size, height / 2 - (cp * dy - sp * toward) * size, size, near];
  };
}

// CSS variables as the canvas's colours; read again when the theme changes.
function readColours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    ["stage", "card", "ink", "faint", "for", "none", "against", "accent", "left", "right", "centre"].map((n) => [n, style.getPropertyValue("--" + n).trim()]),
  );
}

function mix(from, to, share) {
  const channel = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) => Math.round(channel(from, i) + share * (channel(to, i) - channel(from, i)))).join(" ")})`;
}

// Weight from -1 (against the emotion) to 1 (for it) -> colour.
const weightColour = (weight, colours) => mix(colours.none, weight < 0 ? colours.against : colours.for, Math.min(1, Math.abs(weight)));

class Figure {
  constructor(record, motion) {
    Object.assign(this, {record, motion});
    this.points = new Float32Array(3 * motion.joints);
    this.limbs = ["head", "left_wrist", "right_wrist", "left_ankle", "right_ankle"].map((name) => record.landmarks[name]);
    const inHead = (joint) => record.head.includes(record.parents[joint]); // the head is drawn as a ball
    this.bones = record.parents.flatMap((parent, joint) => (parent < 0 || inHead(joint) ? [] : [[parent, joint]]));
  }

  colourOf(joint, colours, byWeight) {
    const part = this.record.parts[joint];
    if (byWeight) return weightColour(this.record.attribution.joints[joint], colours);
    return part.startsWith("left") ? colours.left : part.startsWith("right") ? colours.right : colours.centre;
  }

  // look: {colours, byWeight, trail, names, highlighted: Set of joints or null}
  draw(context, project, frame, look) {
    const {motion} = this, {colours} = look, pose = motion.pose(frame, this.points);
    this.shadow(context, project, pose, colours);
    if (look.trail) this.trail(context, project, frame, colours);
    const screen = [];
    for (let joint = 0; joint < motion.joints; joint++) screen.push(project(pose[3 * joint], pose[3 * joint + 1], pose[3 * joint + 2]));
    this.body(context, screen, look);
    if (look.names) this.names(context, screen, colours);
  }

  body(context, screen, look) {
    const {record} = this, {colours, highlighted} = look;
    const depth = ([a, b]) => screen[a][3] + screen[b][3];
    context.lineCap = context.lineJoin = "round";
    const head = this.headCircle(screen), bones = [];
    for (const [a, b] of [...this.bones].sort((x, y) => depth(y) - depth(x))) {
      const [ax, ay, size] = screen[a], [bx, by] = screen[b], path = new Path2D();
      if (!(size > 0 && screen[b][2] > 0)) continue;
      path.moveTo(ax, ay);
      path.lineTo(bx, by);
      bones.push({b, path, width: Math.max(1.5, record.widths[b] * size), marked: highlighted?.has(b)});
    }
    for (const {path, width, marked} of bones) if (marked) stroke(context, path, colours.accent, width + 9); // before all: one outline of the part
    if (head && highlighted?.has(record.landmarks.head)) stroke(context, head.path, colours.accent, 12);
    for (const {b, path, width, marked} of bones) {
      stroke(context, path, look.paper || colours.stage, width + Math.min(3, width / 5));
      context.globalAlpha = highlighted && !marked ? 0.28 : 1;
      stroke(context, path, this.colourOf(b, colours, look.byWeight), width);
      context.globalAlpha = 1;
    }
    if (head) this.head(context, head, look);
  }

  headCircle(screen) {
    const [bottom, top] = this.record.head.map((joint) => screen[joint]), radius = 0.11 * bottom[2], path = new Path2D();
    if (!(radius > 0)) return null;
    path.ellipse((bottom[0] + top[0]) / 2, (bottom[1] + top[1]) / 2, 0.85 * radius, radius, 0, 0, 7);
    return {path, radius};
  }

  head(context, {path, radius}, look) {
    const {head} = this.record.landmarks, {colours, highlighted} = look, paper = look.paper || colours.stage;
    stroke(context, path, paper, Math.min(4, radius / 4));
    context.fillStyle = paper;
    context.fill(path);
    context.globalAlpha = highlighted && !highlighted.has(head) ? 0.28 : 1;
    context.fillStyle = this.colourOf(head, colours, look.byWeight);
    context.fill(path);
    context.globalAlpha = 1;
  }

  shadow(context, project, pose, colours) {
    const path = new Path2D();
    let size = 100;
    for (const [a, b] of this.bones) {
      const from = project(pose[3 * a], 0, pose[3 * a + 2]), to = project(pose[3 * b], 0, pose[3 * b + 2]);
      if (!(from[2] > 0 && to[2] > 0)) continue;
      path.moveTo(from[0], from[1]);
      path.lineTo(to[0], to[1]);
      size = from[2];
    }
    context.globalAlpha = 0.09;
    context.lineCap = "round";
    stroke(context, path, colours.ink, 0.1 * size);
    context.globalAlpha = 1;
  }

  // Poses of the last 1.5 seconds, and the paths of head, hands and feet.
  trail(context, project, frame, colours) {
    const {motion} = this, span = 1.5 * motion.rate, step = Math.max(1, Math.round(motion.rate / 30)), ghost = 0.3 * motion.rate;
    const scratch = new Float32Array(3 * motion.joints), at = (j) => project(scratch[3 * j], scratch[3 * j + 1], scratch[3 * j + 2]);
    const paths = this.limbs.map(() => new Path2D());
    for (let past = span; past >= 0; past -= step) {
      if (frame - past < 0) continue;
      motion.pose(frame - past, scratch);
      this.limbs.forEach((joint, i) => paths[i].lineTo(...at(joint).slice(0, 2)));
    }
    for (let past = span; past > 0; past -= ghost) {
      if (frame - past < 0) continue;
      motion.pose(frame - past, scratch);
      const path = new Path2D();
      for (const [a, b] of this.bones) {
        if (this.record.widths[b] < 0.03) continue; // fingers
        path.moveTo(...at(a).slice(0, 2));
        path.lineTo(...at(b).slice(0, 2));
      }
      context.globalAlpha = 0.3 * (1 - past / (span + ghost));
      stroke(context, path, colours.ink, 1.5);
    }
    context.globalAlpha = 0.5;
    for (const path of paths) stroke(context, path, colours.accent, 1.5);
    context.globalAlpha = 1;
  }

  names(context, screen, colours) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.strokeStyle = colours.stage;
    context.fillStyle = colours.ink;
    const taken = [];
    this.record.joints.forEach((name, joint) => {
      const [x, y] = screen[joint], width = context.measureText(name).width;
      if (taken.some(([l, r, at]) => x + 8 < r && x + 8 + width > l && Math.abs(at - y) < 12)) return; // would cover another name
      taken.push([x + 8, x + 8 + width, y]);
      context.strokeText(name, x + 8, y);
      context.fillText(name, x + 8, y);
    });
  }
}

function stroke(context, path, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

// Lines half a metre apart around the camera's target, fading with the distance.
function drawFloor(context, project, target, colours) {
  const reach = 4, step = 0.5, [cx, cz] = target.map((value) => Math.round(value / step) * step);
  const fades = new Map();
  const segment = (x0, z0, x1, z1) => {
    const far = Math.hypot((x0 + x1) / 2 - target[0], (z0 + z1) / 2 - target[1]) / reach, fade = Math.ceil(8 * (1 - far));
    const from = project(x0, 0, z0), to = project(x1, 0, z1);
    if (fade <= 0 || !(from[2] > 0 && to[2] > 0)) return;
    if (!fades.has(fade)) fades.set(fade, new Path2D());
    fades.get(fade).moveTo(from[0], from[1]);
    fades.get(fade).lineTo(to[0], to[1]);
  };
  for (let line = -reach; line <= reach; line += step)
    for (let along = -reach; along < reach; along += step) {
      segment(cx + line, cz + along, cx + line, cz + along + step);
      segment(cx + along, cz + line, cx + along + step, cz + line);
    }
  for (const [fade, path] of fades) {
    context.globalAlpha = fade / 8;
    stroke(context, path, colours.faint, 1);
  }
  context.globalAlpha = 1;
}

// Matches a canvas's pixels to its size on the page; returns its context in CSS pixels, cleared, with width and height.
function prepareCanvas(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2), {clientWidth: width, clientHeight: height} = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return {context, width, height};
}
