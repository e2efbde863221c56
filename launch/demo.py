"""The whole path on a small scale: motion files, corpora, encoder, both fine-tunes, evaluation, one clip explained. CPU is enough.

python launch/demo.py
"""

from emotion_llm.runtime.console import run
from emotion_llm.synthetic.demo import run_demo


def main() -> None:
    run_demo()


if __name__ == "__main__":
    run(main)
