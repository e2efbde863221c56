"""Measures this software against baselines, in turns, on this machine.

    python launch/benchmark.py                                  # all that runs on a CPU
    python launch/benchmark.py --quick                          # the same at tiny size: shows that it runs, not how fast
    python launch/benchmark.py --only training --json out.json  # one group; one JSON record per measurement
    python launch/benchmark.py --only gpu                       # a 7B Llama at the paper's batch, on a GPU

A ratio is the median of interleaved runs, with its spread.
"""

from emotion_llm.benchmarks.suite import PRESETS, run_benchmarks
from emotion_llm.runtime.console import parse_settings, run


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    run_benchmarks(settings)


if __name__ == "__main__":
    run(main)
