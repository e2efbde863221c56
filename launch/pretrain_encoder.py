"""Pre-trains the skeleton encoder on prepared corpora, with plain DDP.

    torchrun --nproc_per_node 4 launch/pretrain_encoder.py
    torchrun --nproc_per_node 2 launch/pretrain_encoder.py --preset demo        # the same on two CPU processes

Needs prepared corpora (launch/prepare.py). Run again, it goes on after the last whole epoch.
"""

from emotion_llm.pretraining.pretrain import PRESETS, pretrain
from emotion_llm.runtime.console import parse_settings, run


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    pretrain(settings)


if __name__ == "__main__":
    run(main)
