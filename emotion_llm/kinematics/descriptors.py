"""Kinematic descriptors of a motion: a fixed-order vector of named numbers with units.

Motion  ->  describe: (descriptors,) float64, in the order of DESCRIPTORS

Each measure is one function; its docstring gives formula, unit and source. MEASURES lists the measures and the statistics over time that
are computed from each. Lengths are in body heights, angles in degrees. No measure distinguishes left from right: a mirrored motion has the
same descriptors.

Sources:
    EMOKINE: Christensen et al. 2024, doi:10.3758/s13428-024-02433-0 (features and names; it reports mean, standard deviation and maximum)
    Laban: Larboulette & Gibet 2015, "A review of computable expressive descriptors of human motion", doi:10.1145/2790994.2790998
    Jerk: Hogan & Sternad 2009, doi:10.3200/35-09-004-RC
    Masses: de Leva 1996, doi:10.1016/0021-9290(95)00178-6
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.signal import find_peaks
from scipy.spatial import ConvexHull, QhullError

from emotion_llm.kinematics.movement import Movement, angle, unit_vectors
from emotion_llm.motion.layout import LANDMARKS
from emotion_llm.motion.motion import Motion

UP = np.array((0.0, 1.0, 0.0))
EXTREMITIES = [LANDMARKS.index(name) for name in ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")]
SEGMENTS = (
    ("pelvis", "neck"), ("neck", "head"),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in
      (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))),
)  # fmt: skip
MASS = np.array([
    {"head": 6.94, "elbow": 2.17, "wrist": 1.42, "hip": 14.32, "knee": 9.25, "ankle": 3.53, "shoulder": 8.60}.get(
        name.removeprefix("left_").removeprefix("right_"), 7.24
    )
    for name in LANDMARKS
])  # fmt: skip
"""(J,) fraction of the body's mass at each landmark: a segment's mass (de Leva 1996, men) is split between the landmarks at its ends, the
trunk's among pelvis, neck, shoulders and hips."""
MASS /= MASS.sum()
STILL_SPEED = 0.05  # Heights/s (8 cm/s for an adult) below which the body counts as still (our choice)
HULLS_PER_SECOND = 5.0  # The volume changes slowly and is the most expensive measure
STEP_PROMINENCE = 0.05
"""Heights; least prominence of a peak in the forward distance between the ankles that counts as a step (our choice)."""
FEWEST_STEPS = 3  # Fewer steps do not count as a gait
SMALLEST_PATH = 0.1  # Heights; over shorter paths, directness would only measure noise

Measure = Callable[[Movement], "np.ndarray | float"]


def speed(movement: Movement) -> np.ndarray:
    """Mean |v| of the landmarks, including travel; heights/s. EMOKINE."""
    return np.linalg.norm(movement.velocity, axis=2).mean(axis=1)


def acceleration(movement: Movement) -> np.ndarray:
    """Mean |a| of the landmarks; heights/s². EMOKINE."""
    return np.linalg.norm(movement.acceleration, axis=2).mean(axis=1)


def dimensionless_jerk(movement: Movement) -> float:
    """ln(1 + D³ / v_peak² · ∫ j² dt) over spans of D = 1 s, averaged over the spans; dimensionless. Hogan & Sternad 2009, EMOKINE.

    j² and v² are averaged over the landmarks, so that moving landmarks outweigh the noise of still ones. The fixed span makes the measure
    independent of the clip's length. v_peak is at least STILL_SPEED.
    """
    jerk, speed_squared = ((values**2).sum(axis=2).mean(axis=1) for values in (movement.jerk, movement.velocity))  # (T,)
    values = []
    for span in movement.spans:
        seconds = (len(jerk[span]) - 1) / movement.motion.frames_per_second
        values.append(np.log1p(seconds**4 * jerk[span].mean() / max(speed_squared[span].max(), STILL_SPEED**2)))
    return float(np.mean(values))


def angular_speed(movement: Movement) -> np.ndarray:
    """Mean |d × d'| of the body's segments, where d is a segment's unit direction; degrees/s. EMOKINE."""
    speeds = []
    for upper, lower in SEGMENTS:
        start, end = LANDMARKS.index(upper), LANDMARKS.index(lower)
        bone, change = (values[:, end] - values[:, start] for values in (movement.positions, movement.velocity))
        length = np.maximum(np.linalg.norm(bone, axis=1), 1e-3)
        speeds.append(np.linalg.norm(np.cross(bone, change), axis=1) / length**2)
    return np.degrees(np.mean(speeds, axis=0))


def quantity_of_motion(movement: Movement) -> np.ndarray:
    """Σ m_k |v_k - v_pelvis| / Σ m_k, where m_k is the mass at landmark k; excludes travel; heights/s. Larboulette & Gibet, EMOKINE."""
    return np.linalg.norm(movement.local_velocity, axis=2) @ MASS


def part_speed(movement: Movement, landmark: str) -> np.ndarray:
    """|v - v_pelvis| of a landmark, averaged over both sides; heights/s. EMOKINE's speed per joint."""
    joints = [LANDMARKS.index(name) for name in LANDMARKS if name.endswith(landmark)]
    return np.linalg.norm(movement.local_velocity[:, joints], axis=2).mean(axis=1)


def limb_contraction(movement: Movement) -> np.ndarray:
    """Mean distance of wrists and ankles from the head, small for a contracted posture; heights. EMOKINE."""
    limbs = movement.positions[:, EXTREMITIES[1:]]
    return np.linalg.norm(limbs - movement.head_centre[:, None], axis=2).mean(axis=1)


def range_of_motion(movement: Movement) -> np.ndarray:
    """Mean distance of wrists and ankles from their mean place, seen from the pelvis along the heading; heights, 0 in a held pose. Ours:
    unlike the deviation of limb contraction, limbs that move against each other do not cancel.
    """
    limbs = (movement.positions - movement.track("pelvis")[:, None])[:, EXTREMITIES[1:]]  # (T, 4, 3)
    frame = np.stack([movement.forward, np.broadcast_to(UP, movement.forward.shape), movement.left], axis=1)  # (T, 3, 3)
    local = np.einsum("tij,tlj->tli", frame, limbs)
    return np.linalg.norm(local - local.mean(axis=0), axis=2).mean(axis=1)


def distance_to_center_of_mass(movement: Movement) -> np.ndarray:
    """Mean distance of the landmarks from the centre of mass Σ m_k x_k / Σ m_k; heights. EMOKINE."""
    centre = np.einsum("tjc,j->tc", movement.positions, MASS)
    return np.linalg.norm(movement.positions - centre[:, None], axis=2).mean(axis=1)


def convex_hull_volume(movement: Movement) -> np.ndarray:
    """Volume of the convex hull of the landmarks, sampled HULLS_PER_SECOND times per second; heights³. EMOKINE (space)."""
    step = max(1, round(movement.motion.frames_per_second / HULLS_PER_SECOND))
    return np.array([_volume(points) for points in movement.positions[::step]])


def _volume(points: np.ndarray) -> float:
    try:
        return float(ConvexHull(points).volume)
    except QhullError:  # the points are coplanar
        return 0.0


def head_angle(movement: Movement) -> np.ndarray:
    """Angle between neck -> head and the vertical; degrees. EMOKINE."""
    return angle(movement.head_centre - movement.track("neck"), UP)


def head_angle_to_back(movement: Movement) -> np.ndarray:
    """Angle between neck -> head and pelvis -> neck; degrees. EMOKINE."""
    return angle(movement.head_centre - movement.track("neck"), movement.track("neck") - movement.track("pelvis"))


def head_pitch(movement: Movement) -> np.ndarray:
    """Angle of neck -> head from the vertical in the sagittal plane, positive for a head bowed forward; degrees. Ours."""
    return _forward_angle(movement, movement.head_centre - movement.track("neck"))


def trunk_lean(movement: Movement) -> np.ndarray:
    """Angle of pelvis -> neck from the vertical in the sagittal plane, positive when leaning forward; degrees. Ours."""
    return _forward_angle(movement, movement.track("neck") - movement.track("pelvis"))


def _forward_angle(movement: Movement, direction: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2((direction * movement.forward).sum(axis=1), direction[:, 1]))


def flexion(movement: Movement, upper: str, middle: str, lower: str) -> np.ndarray:
    """180° minus the angle at the middle joint, averaged over both sides; degrees, 0 for a straight limb."""
    above, joint, below = (movement.both(name) for name in (upper, middle, lower))  # (2, T, 3) each
    return angle(joint - above, below - joint).mean(axis=0)


def arm_opening(movement: Movement) -> np.ndarray:
    """Angle between shoulder -> elbow and neck -> pelvis, averaged over both sides; degrees, 0 for arms along the trunk."""
    down = movement.track("pelvis") - movement.track("neck")
    return angle(movement.both("elbow") - movement.both("shoulder"), down).mean(axis=0)


def hand_height(movement: Movement) -> np.ndarray:
    """Height of the wrists above the pelvis, averaged over both sides; heights."""
    return movement.both("wrist").mean(axis=0)[:, 1] - movement.track("pelvis")[:, 1]


def shoulder_height(movement: Movement) -> np.ndarray:
    """Offset of the shoulders from the neck along pelvis -> neck, averaged over both sides; heights, larger for raised shoulders."""
    back = unit_vectors(movement.track("neck") - movement.track("pelvis"))
    shoulders = movement.both("shoulder").mean(axis=0)
    return ((shoulders - movement.track("neck")) * back).sum(axis=1)


def pelvis_height(movement: Movement) -> np.ndarray:
    """Height of the pelvis above the mean height of the ankles; heights. Small in a crouch; its standard deviation measures bounce."""
    return movement.track("pelvis")[:, 1] - movement.both("ankle").mean(axis=0)[:, 1]


def posture_asymmetry(movement: Movement) -> np.ndarray:
    """Mean distance between left landmarks and the mirror images of the right ones in the sagittal plane; heights, 0 if symmetric."""
    pelvis, distances = movement.track("pelvis"), []
    for name in LANDMARKS:
        if name.startswith("left_"):
            left, right = movement.track(name) - pelvis, movement.track(name.replace("left_", "right_")) - pelvis
            mirrored = right - 2 * (right * movement.left).sum(axis=1, keepdims=True) * movement.left
            distances.append(np.linalg.norm(left - mirrored, axis=1))
    return np.mean(distances, axis=0)


def hand_asymmetry(movement: Movement) -> float:
    """|l - r| / (l + r), where l and r are the path lengths of the wrists; dimensionless, 1 if only one hand moves."""
    left, right = (
        np.linalg.norm(movement.local_velocity[:, LANDMARKS.index(f"{side}_wrist")], axis=1).mean() for side in ("left", "right")
    )
    return float(abs(left - right) / max(left + right, STILL_SPEED))


def stillness(movement: Movement) -> float:
    """Fraction of frames in which the landmarks' mean speed is below STILL_SPEED; 0 to 1."""
    return float((speed(movement) < STILL_SPEED).mean())


def travel_speed(movement: Movement) -> float:
    """Horizontal path length of the pelvis per second; heights/s."""
    return float(_ground_speed(movement).mean())


def path_straightness(movement: Movement) -> float:
    """Horizontal distance from start to end divided by path length, of the pelvis: 1 for a straight walk, 0 for a circle or no travel."""
    pelvis = movement.track("pelvis")[:, ::2]
    length = _ground_speed(movement)[1:].sum() / movement.motion.frames_per_second
    return float(np.linalg.norm(pelvis[-1] - pelvis[0]) / max(length, SMALLEST_PATH))


def _ground_speed(movement: Movement) -> np.ndarray:
    return np.linalg.norm(movement.velocity[:, LANDMARKS.index("pelvis"), ::2], axis=1)


def turning_speed(movement: Movement) -> float:
    """Mean absolute rate of change of the heading; degrees/s."""
    heading = np.unwrap(np.arctan2(movement.forward[:, 0], movement.forward[:, 2]))
    return float(np.degrees(np.abs(np.diff(heading)).mean()) * movement.motion.frames_per_second) if len(heading) > 1 else 0.0


def _steps(movement: Movement) -> np.ndarray:
    """Frames at which one ankle is farthest ahead of the other, alternating between sides; empty if there is no gait."""
    ahead = ((movement.track("left_ankle") - movement.track("right_ankle")) * movement.forward).sum(axis=1)
    left, right = (find_peaks(side, prominence=STEP_PROMINENCE)[0] for side in (ahead, -ahead))
    frames = np.sort(np.concatenate([left, right]))
    alternating = len(frames) >= FEWEST_STEPS and abs(len(left) - len(right)) <= 1
    return frames if alternating else frames[:0]


def cadence(movement: Movement) -> float:
    """Steps per minute between the first and the last step; 0 without a gait."""
    steps = _steps(movement)
    return 60 * (len(steps) - 1) * movement.motion.frames_per_second / (steps[-1] - steps[0]) if len(steps) else 0.0


def stride_length(movement: Movement) -> float:
    """Horizontal path length of the pelvis per two steps; heights, 0 without a gait."""
    steps = _steps(movement)
    if not len(steps):
        return 0.0
    return 2 * float(_ground_speed(movement)[steps[0] : steps[-1]].sum()) / movement.motion.frames_per_second / (len(steps) - 1)


def laban_weight(movement: Movement) -> float:
    """Maximum of Σ m_k |v_k|² / Σ m_k in a span, averaged over spans: light to strong; heights²/s². Larboulette & Gibet, Weight Effort."""
    energy = (movement.velocity**2).sum(axis=2) @ MASS  # (T,)
    return float(np.mean([energy[span].max() for span in movement.spans]))


def laban_time(movement: Movement) -> float:
    """Mean |a| of head, hands and feet, averaged over spans: sustained to sudden; heights/s². Larboulette & Gibet, Time Effort."""
    return _mean_over_spans(movement, movement.acceleration)


def laban_flow(movement: Movement) -> float:
    """Mean |j| of head, hands and feet, averaged over spans: bound to free; heights/s³. Larboulette & Gibet, Flow Effort."""
    return _mean_over_spans(movement, movement.jerk)


def _mean_over_spans(movement: Movement, values: np.ndarray) -> float:
    sizes = np.linalg.norm(values[:, EXTREMITIES], axis=2).mean(axis=1)
    return float(np.mean([sizes[span].mean() for span in movement.spans]))


def laban_space(movement: Movement) -> float:
    """|x(end) - x(start)| / path length of head, hands and feet relative to the pelvis, averaged over spans: indirect (0) to direct (1).

    The inverse of Larboulette & Gibet's Space Effort, which is infinite when a hand returns to where it started.
    """
    local = (movement.positions - movement.track("pelvis")[:, None])[:, EXTREMITIES]  # (T, 5, 3)
    ratios = []
    for span in movement.spans:
        net = np.linalg.norm(local[span][-1] - local[span][0], axis=1)
        path = np.linalg.norm(np.diff(local[span], axis=0), axis=2).sum(axis=0)
        ratios.append((net / np.maximum(path, SMALLEST_PATH)).mean())
    return float(np.mean(ratios))


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "std": np.std, "peak": partial(np.percentile, q=95)}
"""Statistics of a measure over time. The peak is the 95th percentile, because a maximum is sensitive to noise."""
MEASURES: tuple[tuple[str, str, Measure, Sequence[str]], ...] = (
    ("speed", "heights/s", speed, ("mean", "std", "peak")),
    ("acceleration", "heights/s2", acceleration, ("mean", "std", "peak")),
    ("dimensionless_jerk", "1", dimensionless_jerk, ()),
    ("angular_speed", "deg/s", angular_speed, ("mean", "std", "peak")),
    ("quantity_of_motion", "heights/s", quantity_of_motion, ("mean", "std", "peak")),
    ("head_speed", "heights/s", partial(part_speed, landmark="head"), ("mean", "peak")),
    ("hand_speed", "heights/s", partial(part_speed, landmark="wrist"), ("mean", "peak")),
    ("foot_speed", "heights/s", partial(part_speed, landmark="ankle"), ("mean", "peak")),
    ("limb_contraction", "heights", limb_contraction, ("mean", "std")),
    ("range_of_motion", "heights", range_of_motion, ("mean",)),
    ("distance_to_center_of_mass", "heights", distance_to_center_of_mass, ("mean", "std")),
    ("convex_hull_volume", "heights3", convex_hull_volume, ("mean", "std")),
    ("head_angle", "deg", head_angle, ("mean", "std")),
    ("head_angle_to_back", "deg", head_angle_to_back, ("mean", "std")),
    ("head_pitch", "deg", head_pitch, ("mean", "std")),
    ("trunk_lean", "deg", trunk_lean, ("mean", "std")),
    ("elbow_flexion", "deg", partial(flexion, upper="shoulder", middle="elbow", lower="wrist"), ("mean", "std")),
    ("knee_flexion", "deg", partial(flexion, upper="hip", middle="knee", lower="ankle"), ("mean", "std", "peak")),
    ("arm_opening", "deg", arm_opening, ("mean", "std", "peak")),
    ("hand_height", "heights", hand_height, ("mean", "std", "peak")),
    ("shoulder_height", "heights", shoulder_height, ("mean", "std")),
    ("pelvis_height", "heights", pelvis_height, ("mean", "std")),
    ("posture_asymmetry", "heights", posture_asymmetry, ("mean", "std")),
    ("hand_asymmetry", "1", hand_asymmetry, ()),
    ("stillness", "share", stillness, ()),
    ("travel_speed", "heights/s", travel_speed, ()),
    ("path_straightness", "1", path_straightness, ()),
    ("turning_speed", "deg/s", turning_speed, ()),
    ("cadence", "steps/min", cadence, ()),
    ("stride_length", "heights", stride_length, ()),
    ("laban_weight", "heights2/s2", laban_weight, ()),
    ("laban_time", "heights/s2", laban_time, ()),
    ("laban_space", "1", laban_space, ()),
    ("laban_flow", "heights/s3", laban_flow, ()),
)
"""Name, unit, function, and, for a measure with a value per frame, its statistics over time."""
DESCRIPTORS: dict[str, str] = {
    f"{name}_{statistic}" if statistic else name: unit for name, unit, _, statistics in MEASURES for statistic in statistics or ("",)
}
"""Name -> unit of each number that `describe` returns, in order."""


def describe(motion: Motion) -> np.ndarray:
    """The descriptors (len(DESCRIPTORS),) float64 of a motion without missing values; always finite."""
    movement = Movement(motion)
    values: list[float] = []
    for _, _, measure, statistics in MEASURES:
        value = measure(movement)
        values += [STATISTICS[statistic](np.asarray(value)) for statistic in statistics] if statistics else [float(value)]
    return np.array(values)
