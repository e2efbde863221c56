"""The body in a recording whose joints have no telling names: bones, limbs, head and sides from geometry alone.

positions (T, V, 3)  ->  bone_tree: parents (V,)  ->  find_body: Body (limbs, neck, head, which side is left)

Bones are joints whose distance changes least. The two hands, the two feet and the head are the joints that are farthest from each other
along the bones; left and right limbs have equal lengths, and thigh and shin are longer than upper arm and forearm. Feet point forward.
All of it is our choice.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree, shortest_path

SAMPLED_FRAMES = 64  # Frames that bones are found in, evenly spaced
DISTANCE_WEIGHT = 0.02
"""Metres of a bone that count as much as a metre of change: among joints that do not move against each other, the nearest are connected."""
ASYMMETRY = 0.08
"""Largest difference between a left and a right distance, as a fraction of the largest distance in the body."""
LIMB_RATIO = (0.55, 1.8)  # Upper to lower bone of a human limb
LIMB_FRACTION = 0.45
"""Smallest fraction of a limb's length, from the trunk to its end, that its two longest bones have."""
SHORT_BONE = 0.03  # Fraction of a limb's length below which a bone is a helper: two joints at one place
SIDE_CERTAINTY = 0.3
"""Mean cosine between the direction to the left that the feet indicate and that from limb to limb, below which sides are not known."""


@dataclass(frozen=True)
class Body:
    """Joint indices of a body."""

    landmarks: dict[str, int]  # Those of LANDMARKS that were found
    members: dict[str, frozenset[int]]  # All joints of the head, of left_arm, right_arm, left_leg and right_leg
    pairs: list[tuple[int, int]]  # (left, right) joints of the limbs
    sides_known: bool  # False: which side is left is a guess

    def mirrored(self) -> "Body":
        """The same body with left and right swapped."""
        swap = partial(re.compile("left|right").sub, lambda side: "left" if side[0] == "right" else "right")
        landmarks = {swap(word): joint for word, joint in self.landmarks.items()}
        members = {swap(part): joints for part, joints in self.members.items()}
        return Body(landmarks, members, [(right, left) for left, right in self.pairs], self.sides_known)


def complete_frames(positions: np.ndarray) -> np.ndarray:
    """Up to SAMPLED_FRAMES frames without missing values, evenly spaced: (T, V, 3) -> (F, V, 3)."""
    complete = positions[np.isfinite(positions).all(axis=(1, 2))]
    return complete[np.linspace(0, len(complete) - 1, min(len(complete), SAMPLED_FRAMES)).astype(int)]


def bone_tree(frames: np.ndarray, parts: Sequence[str | None]) -> tuple[int, ...]:
    """Parents (V,) of joints (F, V, 3) whose bones are not known, -1 for joint 0: the tree whose distances change least.

    Args:
        parts: of each joint, one of PARTS, where its name tells; a bone does not connect two limbs.
    """
    joints = frames.shape[1]
    weights = np.empty((joints, joints))
    for joint in range(joints):
        distances = np.linalg.norm(frames - frames[:, joint, None], axis=2)  # (F, V)
        weights[joint] = distances.std(axis=0) + DISTANCE_WEIGHT * distances.mean(axis=0)
    limbs = np.array([part if part not in (None, "trunk") else "" for part in parts])
    weights[(limbs[:, None] != limbs) & (limbs[:, None] != "") & (limbs != "")] *= 1000
    weights += 1e-9 * max(float(weights.max()), 1e-300)  # scipy reads 0 as no edge
    doubles = np.tril(weights < 1e-6 * weights.max(), -1).any(axis=1)
    weights[:, doubles] *= 1.001  # of joints at one place, the first gets the neighbours
    weights[doubles] *= 1.001
    tree = minimum_spanning_tree(np.triu(weights, 1))
    return _rooted(tree, 0)


def rerooted(parents: tuple[int, ...], root: int) -> tuple[int, ...]:
    """The same bones with another root."""
    return _rooted(_graph(parents, np.ones(len(parents))), root)


def find_body(frames: np.ndarray, parents: tuple[int, ...], ends: Iterable[int] = ()) -> Body | None:
    """The body of a skeleton; None if it has not two arms, two legs and a head.

    Args:
        frames: (F, V, 3) in any unit and axes, right-handed.
        parents: (V,), -1 for the root.
        ends: joints that only mark the end of a bone (End Sites).
    """
    tree = _Tree(frames, parents)
    extremities = tree.extremities()
    if extremities is None:
        return None
    head_end, ends_of_limbs = extremities
    arms, legs = sorted((tree.limb_pair(pair, head_end) for pair in ends_of_limbs), key=lambda pair: pair.bone_length)
    if arms.junction == legs.junction:
        return None
    to_head = [joint for joint in tree.path(arms.junction, head_end) if joint not in set(ends)]
    if len(to_head) < 2:
        return None
    hips, shoulders = (frames[:, pair.first[0]] - frames[:, pair.first[1]] for pair in (legs, arms))  # (F, 3)
    if (hips * shoulders).sum() < 0:
        arms, shoulders = tree.limb_pair(arms.last[::-1], head_end), -shoulders
    certainty = _left(frames, legs, to_head[-1], hips + shoulders)
    landmarks = {"pelvis": legs.junction, "neck": to_head[-2], "head": to_head[-1]}
    members = {"head": tree.beyond(arms.junction, tree.path(arms.junction, head_end)[1])}
    pairs: list[tuple[int, int]] = []
    for kind, words, pair in (("arm", ("shoulder", "elbow", "wrist"), arms), ("leg", ("hip", "knee", "ankle"), legs)):
        for side, first, bones in zip(("left", "right"), pair.first, pair.bones, strict=True):
            members[f"{side}_{kind}"] = tree.beyond(pair.junction, first)
            landmarks |= {f"{side}_{word}": joint for word, joint in zip(words, bones, strict=False)}
        pairs += tree.matched(pair.junction, *pair.first)
    body = Body(landmarks, members, pairs, abs(certainty) > SIDE_CERTAINTY)
    return body if certainty >= 0 else body.mirrored()


@dataclass(frozen=True)
class _LimbPair:
    junction: int  # The joint of the trunk that both hang from
    first: tuple[int, int]  # The joints below the junction
    last: tuple[int, int]
    bones: tuple[tuple[int, ...], tuple[int, ...]]  # Upper, middle and lower joint of each; empty where the bones are not a limb's
    bone_length: float


class _Tree:
    """Lengths along the bones of a skeleton."""

    def __init__(self, frames: np.ndarray, parents: tuple[int, ...]) -> None:
        self.parents = parents
        lengths = np.median(np.linalg.norm(frames - frames[:, parents], axis=2), axis=0)  # (V,); the root's is not used
        smallest = 1e-9 * max(1e-300, float(lengths[np.array(parents) >= 0].max(initial=0)))  # scipy reads 0 as no edge
        graph = _graph(parents, np.maximum(lengths, smallest))
        self.length, self.before = shortest_path(graph, directed=False, return_predecessors=True)  # (V, V) each

    def path(self, start: int, end: int) -> list[int]:
        joints = [end]
        while joints[-1] != start:
            joints.append(int(self.before[start, joints[-1]]))
        return joints[::-1]

    def beyond(self, joint: int, neighbour: int) -> frozenset[int]:
        """The joints on the neighbour's side of the bone between the two."""
        farther = self.length[joint] - self.length[neighbour] > 0.5 * self.length[joint, neighbour]
        return frozenset(np.flatnonzero(farther).tolist())

    def extremities(self) -> tuple[int, tuple[tuple[int, int], tuple[int, int]]] | None:
        """The end of the head, and those of two pairs of equal limbs."""
        degree = np.bincount([*range(len(self.parents)), *(parent for parent in self.parents if parent >= 0)])
        leaves = [joint for joint in np.flatnonzero(degree == 1).tolist() if self.parents[joint] >= 0]
        if len(leaves) < 5:
            return None
        chosen = [leaves[int(np.argmax(self.length[leaves].max(axis=1)))]]
        while len(chosen) < 5:
            chosen.append(leaves[int(np.argmax(self.length[np.ix_(leaves, chosen)].min(axis=1)))])
        best = (np.inf, 0, ((0, 0), (0, 0)))
        for head in chosen:
            first, *others = (joint for joint in chosen if joint != head)
            for partner in others:
                third, fourth = (joint for joint in others if joint != partner)
                pairs = ((first, partner), (third, fourth))
                asymmetry = max(
                    abs(self.length[left, other] - self.length[right, other])
                    for left, right in pairs
                    for other in chosen
                    if other not in (left, right)
                )
                best = min(best, (asymmetry, head, pairs))
        return best[1:] if best[0] < ASYMMETRY * self.length[np.ix_(chosen, chosen)].max() else None

    def limb_pair(self, ends: tuple[int, int], head: int) -> _LimbPair:
        path = self.path(*ends)
        junction = path[int(np.argmin(self.length[path, head]))]
        one, other = (self.path(junction, end) for end in ends)
        (one_limb, one_length), (other_limb, other_length) = self._two_longest_bones(one), self._two_longest_bones(other)
        return _LimbPair(junction, (one[:2][-1], other[:2][-1]), ends, (one_limb, other_limb), one_length + other_length)

    def _two_longest_bones(self, path: list[int]) -> tuple[tuple[int, ...], float]:
        """(upper, middle, lower) joint of the longest two successive bones, empty if they are not those of a limb; their length."""
        total = self.length[path[0], path[-1]]
        joints = path[:1]
        for joint in path[1:]:
            if self.length[joints[-1], joint] > SHORT_BONE * total:
                joints.append(joint)
        bones = self.length[joints[:-1], joints[1:]]
        if len(bones) < 2:
            return (), 0.0
        at = int(np.argmax(bones[:-1] + bones[1:]))
        upper, lower = bones[at : at + 2]
        human = LIMB_RATIO[0] < upper / lower < LIMB_RATIO[1] and upper + lower > LIMB_FRACTION * total
        return tuple(joints[at : at + 3]) if human else (), float(upper + lower)

    def matched(self, junction: int, left: int, right: int) -> list[tuple[int, int]]:
        """(left, right) joints of two limbs: of equal place, length and number of joints beyond."""
        pairs, waiting = [], [(junction, left, junction, right)]
        while waiting:
            left_above, left, right_above, right = waiting.pop()
            pairs.append((left, right))
            branches = [self._branches(left, left_above), self._branches(right, right_above)]
            cost = np.array([[np.abs(one - other).sum() for other in branches[1].values()] for one in branches[0].values()])
            if cost.size:
                names = [list(branch) for branch in branches]
                waiting += [(left, names[0][one], right, names[1][other]) for one, other in zip(*linear_sum_assignment(cost), strict=True)]
        return sorted(pairs)

    def _branches(self, joint: int, above: int) -> dict[int, np.ndarray]:
        """Each neighbour but the one above -> (bone length, reach beyond, joints beyond)."""
        found = {}
        for neighbour in np.flatnonzero(self.before[joint] == joint).tolist():
            if neighbour != above:
                beyond = list(self.beyond(joint, neighbour))
                found[neighbour] = np.array([self.length[joint, neighbour], self.length[joint, beyond].max(), len(beyond)])
        return found


def _left(frames: np.ndarray, legs: _LimbPair, head: int, across: np.ndarray) -> float:
    """Mean cosine, -1 to 1, between `across` (F, 3), from the second limbs to the first, and the body's left."""
    feet = [(limb[-1], limb[1], limb[0], end) for limb, end in zip(legs.bones, legs.last, strict=True) if limb]
    if not feet:
        return 0.0
    up = frames[:, head] - np.mean([frames[:, ankle] for ankle, *_ in feet], axis=0)  # (F, 3)
    front = np.zeros_like(up)
    for ankle, knee, hip, toe in feet:
        if toe != ankle:
            front += frames[:, toe] - frames[:, ankle]
        else:  # knees bend forward
            front += frames[:, knee] - (frames[:, hip] + frames[:, ankle]) / 2
    left = np.cross(up, front)
    sizes = np.linalg.norm(left, axis=1) * np.linalg.norm(across, axis=1)
    return float(np.mean((left * across).sum(axis=1) / np.maximum(sizes, 1e-12 * max(float(sizes.max()), 1e-300))))


def _graph(parents: tuple[int, ...], lengths: np.ndarray) -> csr_array:
    """The bones as a graph, each with the length (V,) of its lower joint."""
    joints = np.flatnonzero(np.array(parents) >= 0)
    return csr_array((lengths[joints], (joints, np.array(parents)[joints])), shape=(len(parents),) * 2)


def _rooted(tree: csr_array, root: int) -> tuple[int, ...]:
    _, before = breadth_first_order(tree, root, directed=False)
    return tuple(int(parent) if parent >= 0 else -1 for parent in before)
