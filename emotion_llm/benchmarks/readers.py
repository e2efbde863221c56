"""Our BVH reader against the packages that read the same files.

folder of BVH files  ->  Measurements: file in, world positions of all joints out

The other packages come with `pip install '.[oracle]'`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from emotion_llm.benchmarks.measurement import Measurement, interleaved_ratio, machine_name
from emotion_llm.motion.bvh import BvhJoint, read_bvh, world_positions
from emotion_llm.runtime.errors import UserError


def measure(folder: Path, repeats: int = 5) -> list[Measurement]:
    """Reads every BVH file of the folder with our reader and with each other way, in turns.

    Raises:
        UserError: no BVH file there, or the other packages are not installed.
    """
    paths = sorted(folder.glob("*.bvh"))
    if not paths:
        raise UserError(f"{folder}: holds no BVH file; name a folder of recordings, such as an unpacked Bandai-Namco archive")
    others = {
        "the bvh package, with our kinematics": with_bvh_package,
        "upc-pymotion, the fastest package that reads such files and computes kinematics": with_pymotion,
    }
    measurements = []
    for name, theirs in others.items():
        try:
            theirs(paths[0])
        except ImportError as error:
            raise UserError(
                f"package {error.name} is not installed; install the readers to compare with: pip install '.[oracle]'"
            ) from None
        ratio = interleaved_ratio(lambda: _read_all(paths, read_bvh), lambda theirs=theirs: _read_all(paths, theirs), repeats)
        measurements.append(
            Measurement(
                name=f"BVH reader against {name.split(',')[0]}",
                ratio=ratio.median,
                low=ratio.low,
                high=ratio.high,
                unit="seconds",
                compared=f"parsing and kinematics of {len(paths)} files of {folder.name}: ours {ratio.our_seconds:.2f} s, "
                f"{name} {ratio.their_seconds:.2f} s",
                machine=machine_name(),
            )
        )
    return measurements


def with_bvh_package(path: Path) -> np.ndarray:
    """World positions (T, joints, 3), without End Sites, of what the `bvh` package parsed; it has no kinematics, so ours are lent to it."""
    import bvh

    file = bvh.Bvh(path.read_text(encoding="utf-8"))
    joints, column = [], 0
    nodes = file.get_joints()
    index = {id(node): position for position, node in enumerate(nodes)}
    for node in nodes:
        joint = BvhJoint(node.name, index.get(id(node.parent), -1), tuple(float(length) for length in node["OFFSET"]))
        for channel in node["CHANNELS"][1:]:
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                joint.positions[axis] = column
            else:
                joint.rotations.append((axis, column))
            column += 1
        joints.append(joint)
    return world_positions(joints, np.array(file.frames, dtype=np.float64))


def with_pymotion(path: Path) -> np.ndarray:
    """World positions (T, joints, 3), without End Sites, by upc-pymotion; each joint's position channels are handed to its kinematics."""
    from pymotion.io.bvh import BVH
    from pymotion.ops.skeleton import fk
    from pymotion.rotations import quat

    file = BVH()
    file.load(str(path))
    angles = np.radians(file.data["rotations"])
    rotations = quat.from_euler(angles, order=np.broadcast_to(file.data["rot_order"], angles.shape))
    return fk(rotations, file.data["positions"][:, 0], file.data["positions"], file.data["parents"])[0]


def _read_all(paths: list[Path], read: Callable[[Path], object]) -> None:
    for path in paths:
        read(path)
