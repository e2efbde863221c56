"""Checks of a recording before it is made canonical.

Motion  ->  findings in words, each "kind: what and where; what to do"

A finding is a suspicion, not an error; the clip is kept. The thresholds are ours: none of the 804 real clips that we have (BVH, 30 frames per second,
dance, kicks and punches among them) and no recording with a Kinect's usual noise raises a finding.
"""

from dataclasses import replace

import numpy as np

from emotion_llm.motion.motion import Motion

FROZEN_SECONDS = 1.0  # A living body never keeps all its joints still for so long
FROZEN_METRES = 1e-4  # Movement from frame to frame below which a joint stands still: a tenth of a millimetre
TELEPORT_METRES_PER_SECOND, TELEPORT_RATIO = 6.0, 8.0
"""A hand may be faster than the first, but not so many times faster than around that moment."""
TELEPORT_WINDOW = 7
"""Frame intervals around and including the moment: their median ignores a jump there and back."""
BONE_CHANGE = 0.35
"""Share of its median length by which a bone's length may differ between frames: a Kinect's bones change by up to a third."""
SHORTEST_CHECKED_BONE = 0.2  # Metres; for shorter bones a sensor's noise is too large
BODY_SIZES = (0.55, 1.6)
"""Size of a human body relative to the reference body: from a small child to the tallest adult."""
IMPOSSIBLE_REACH = 3.0
"""Metres from the median joint; farther joints are marks of missing values, such as -9999, or jumps."""
IMPOSSIBLE_JUMP, IMPOSSIBLE_METRES_PER_SECOND = 2.0, 30.0
"""The median joint does not move that far from one frame to the next at that speed."""
SMALLEST_SIZE = 1e-6  # A smaller body is a point
HUMAN_LIMBS_METRES = 2.74
"""Both arms (shoulder to wrist) and both legs (hip to ankle) of an adult of 1.72 m, our reference body."""
UNITS = {
    1.0: "metres", 0.1: "decimetres", 0.01: "centimetres", 0.001: "millimetres", 0.0254: "inches", 0.3048: "feet",
    0.0564: "1/0.45 inches, as in CMU's Acclaim files",
}  # fmt: skip
"""Metres per unit -> name of the unit."""
UPRIGHT = 0.5
"""Cosine of the angle between the body (ankles to head, median over the recording) and the vertical: 60 degrees."""
BACKWARDS = -0.5
"""Cosine of the angle between where the feet on the floor point and where the body faces, median over the recording: 120 degrees."""
STEP_HEIGHT = 0.05  # Metres above its lowest place up to which an ankle counts as standing on the floor


def check_clip(motion: Motion) -> list[str]:
    """The findings on one recording; the constants of this module say what counts as wrong."""
    complete = np.isfinite(motion.positions).all(axis=2)  # (T, V)
    findings = _missing(motion, complete)
    motion = replace(motion, positions=motion.positions[complete.all(axis=1)])
    if len(motion.positions) < 2:
        return [*findings, f"short: {len(motion.positions)} complete frames; leave the recording out"]
    size = _body_size(motion)
    if size < SMALLEST_SIZE:
        return [*findings, "unit: the body has no size, its joints coincide; check the file and its layout"]
    if not BODY_SIZES[0] <= size <= BODY_SIZES[1]:
        findings.append(_wrong_unit(size, motion.metres_per_unit))
        motion = replace(motion, positions=motion.positions / size)  # the other checks apply to its true size
    return findings + _frozen(motion) + _teleporting(motion) + _changing_bones(motion) + _posture(motion)


def gross_failure(motion: Motion) -> str | None:
    """Why the recording cannot be used: positions that no body can have; None for usable ones."""
    motion = replace(motion, positions=motion.positions[np.isfinite(motion.positions).all(axis=(1, 2))])
    if len(motion.positions) < 2:
        return None
    size = _body_size(motion)
    if size < SMALLEST_SIZE:
        return None  # `check_clip` reports it
    metres = 1 / size if not BODY_SIZES[0] <= size <= BODY_SIZES[1] else 1.0
    middle = np.median(motion.positions, axis=1)  # (T, 3)
    reach = np.linalg.norm(motion.positions - middle[:, None], axis=2) * metres  # (T, V)
    reach[:, list(motion.layout.at_pelvis[1:])] = 0  # joints above the pelvis are reference points, which may stay at the origin
    if reach.max() > IMPOSSIBLE_REACH:
        frame, joint = np.unravel_index(np.argmax(reach), reach.shape)
        return (
            f"impossible: '{motion.layout.joint_names[joint]}' is {reach[frame, joint]:.1f} m away from the body in frame {frame}; correct or "
            "cut the recording; if the value stands for a missing one, name it in columns.missing"
        )
    jumps = np.linalg.norm(np.diff(middle, axis=0), axis=1) * metres  # (T - 1,)
    if jumps.max() > IMPOSSIBLE_JUMP and jumps.max() * motion.frames_per_second > IMPOSSIBLE_METRES_PER_SECOND:
        return f"impossible: the body jumps {jumps.max():.1f} m to frame {np.argmax(jumps) + 1}; correct or cut the recording"
    return None


def _missing(motion: Motion, complete: np.ndarray) -> list[str]:
    if complete.all():
        return []
    missing = (~complete).sum(axis=0)  # (V,) frames
    worst = int(np.argmax(missing))
    return [
        f"missing: {np.count_nonzero(missing)} joints have missing values, '{motion.layout.joint_names[worst]}' most, in {missing[worst]} of "
        f"{len(complete)} frames; short gaps are filled"
    ]


def _body_size(motion: Motion) -> float:
    """The length of arms and legs against the layout's."""
    limbs = motion.layout.limbs(("shoulder", "wrist"), ("hip", "ankle"))
    reference = sum(motion.layout.bone_lengths[joint] for joint in limbs)
    return float(np.median(motion.bone_lengths(limbs), axis=0).sum() / reference)


def fitting_units(limbs: float) -> list[float]:
    """Metres per unit (of UNITS) at which arms and legs of that length together, in the file's unit, are human; the best first."""
    sizes = {metres: metres * limbs / HUMAN_LIMBS_METRES for metres in UNITS}
    fitting = [metres for metres, size in sizes.items() if BODY_SIZES[0] <= size <= BODY_SIZES[1]]
    return sorted(fitting, key=lambda metres: abs(np.log(sizes[metres])))


def unit_text(metres: float) -> str:
    return f"{metres:g} ({UNITS[metres]})"


def _wrong_unit(size: float, metres_per_unit: float) -> str:
    fitting = fitting_units(size * HUMAN_LIMBS_METRES / metres_per_unit)
    remedy = f"metres_per_unit {' or '.join(map(unit_text, fitting))} would fit" if fitting else "no usual unit fits; check the layout"
    return f"unit: with metres_per_unit {metres_per_unit:g} the body has {size:.3f} times a human's size; {remedy}"


def _frozen(motion: Motion) -> list[str]:
    still = (np.abs(np.diff(motion.positions, axis=0)) < FROZEN_METRES).all(axis=(1, 2))  # (T - 1,)
    if still.all():
        return ["frozen: nothing moves in the whole recording; leave it out"]
    edges = np.flatnonzero(np.diff(still, prepend=False, append=False))  # first of a still run, first after it, ...
    starts, seconds = edges[::2], (edges[1::2] - edges[::2]) / motion.frames_per_second
    if not len(starts) or seconds.max() < FROZEN_SECONDS:
        return []
    longest = int(np.argmax(seconds))
    return [f"frozen: nothing moves for {seconds[longest]:.1f} s from frame {starts[longest]} on; cut that out"]


def _teleporting(motion: Motion) -> list[str]:
    steps = np.linalg.norm(np.diff(motion.positions, axis=0), axis=2)  # (T - 1, V)
    fast = np.flatnonzero((steps * motion.frames_per_second > TELEPORT_METRES_PER_SECOND).any(axis=0))  # joints
    if not len(fast) or len(steps) < TELEPORT_WINDOW:
        return []
    steps, half = steps[:, fast], TELEPORT_WINDOW // 2
    padded = np.pad(steps, ((half, half), (0, 0)), mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, TELEPORT_WINDOW, axis=0), axis=2)  # (T - 1, fast joints)
    jumps = (steps * motion.frames_per_second > TELEPORT_METRES_PER_SECOND) & (steps > TELEPORT_RATIO * usual)
    if not jumps.any():
        return []
    frame, joint = np.unravel_index(np.argmax(steps * jumps), steps.shape)
    return [
        f"teleporting: '{motion.layout.joint_names[fast[joint]]}' jumps {steps[frame, joint]:.2f} m to frame {frame + 1}; "
        f"{jumps.any(axis=0).sum()} joints jump, at {jumps.any(axis=1).sum()} moments; correct or cut the recording"
    ]


def _changing_bones(motion: Motion) -> list[str]:
    layout = motion.layout
    bones = [joint for joint in range(layout.joints) if layout.bone_lengths[joint] > 0]
    lengths = motion.bone_lengths(bones)  # (T, bones)
    middle = np.median(lengths, axis=0)
    suspects = np.flatnonzero((middle > SHORTEST_CHECKED_BONE) & (np.ptp(lengths, axis=0) > BONE_CHANGE * middle))
    if not len(suspects):
        return []
    low, high = np.percentile(lengths[:, suspects], (5, 95), axis=0)  # a few outliers are allowed
    change = (high - low) / middle[suspects]
    worst = int(np.argmax(change))
    if change[worst] <= BONE_CHANGE:
        return []
    return [
        f"bones: {np.count_nonzero(change > BONE_CHANGE)} change length, that to '{layout.joint_names[bones[suspects[worst]]]}' from "
        f"{low[worst]:.2f} to {high[worst]:.2f} m; the tracking failed, or the joints are another layout's"
    ]


def _posture(motion: Motion) -> list[str]:
    head, left, right = (motion.layout.landmark(motion.positions, word) for word in ("head", "left_ankle", "right_ankle"))
    body = np.median(head - (left + right) / 2, axis=0)  # (3,)
    upright = body[1] / max(float(np.linalg.norm(body)), 1e-9)
    if upright < -UPRIGHT:
        return ["upside down: the head is below the feet; set up to the axis that points up, such as -y"]
    if upright < UPRIGHT:
        axis = "xyz"[int(np.argmax(np.abs(body)))]
        return [f"lying: the body lies along the {axis} axis; if it stands, set up to the axis that points up"]
    return _mirrored(motion)


def _mirrored(motion: Motion) -> list[str]:
    """Feet on the floor point forward; one in the air may point anywhere."""
    layout, positions = motion.layout, motion.positions
    left, right = (sum(layout.landmark(positions, f"{side}_{word}") for word in ("hip", "shoulder")) for side in ("left", "right"))
    front = np.cross(left - right, (0, 1, 0))[:, ::2]  # (T, 2) on the floor
    ankles = layout.landmarks["left_ankle"], layout.landmarks["right_ankle"]
    toes = [joint for joint, parent in enumerate(layout.parents) if parent in ankles]
    along = []
    for toe in toes:
        ankle = positions[:, layout.parents[toe]]
        grounded = ankle[:, 1] < np.percentile(ankle[:, 1], 5) + STEP_HEIGHT
        foot, facing = (positions[:, toe] - ankle)[grounded, ::2], front[grounded]
        along.append((foot * facing).sum(axis=1) / np.maximum(np.linalg.norm(foot, axis=1) * np.linalg.norm(facing, axis=1), 1e-9))
    if toes and np.median(np.concatenate(along)) < BACKWARDS:
        return ["mirrored: the feet point backwards; left and right are swapped, or the axes are left-handed: set handedness to left"]
    return []
