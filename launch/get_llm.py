"""Brings an LLM into an ordinary Hugging Face folder.

python launch/get_llm.py --llm smollm2-135m-instruct --output models/smollm2-135m-instruct
python launch/get_llm.py --preset demo          # builds and pre-trains the demo's small Llama
python launch/get_llm.py --llm huggyllama/llama-7b --output models/llama-7b
"""

from emotion_llm.runtime.console import parse_settings, run
from emotion_llm.synthetic.get_llm import PRESETS, get_llm


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    get_llm(settings)


if __name__ == "__main__":
    run(main)
