"""Fine-tunes the skeleton-aware LLM under DeepSpeed ZeRO-2: first to name the emotion, then to explain it.

    deepspeed --num_gpus 4 launch/finetune.py --stage recognition
    deepspeed --num_gpus 4 launch/finetune.py --stage description
    deepspeed --num_gpus 2 launch/finetune.py --stage recognition --preset demo     # the same on two CPU processes

Needs prepared corpora (launch/prepare.py), a pre-trained encoder (launch/pretrain_encoder.py) and an LLM (a Hugging Face name or folder).
Run again, it goes on where it stopped.
"""

from emotion_llm.runtime.console import parse_settings, run
from emotion_llm.training.finetune import finetune
from emotion_llm.training.settings import presets_of_stage


def main() -> None:
    settings = parse_settings(presets_of_stage(), __doc__)
    finetune(settings)


if __name__ == "__main__":
    run(main)
