"""launch/predict.py in fp32 on any CPU, for comparisons with a process that computes in fp32."""

from emotion_llm.runtime import processes
from emotion_llm.runtime.console import run
from launch.predict import main

if __name__ == "__main__":
    processes.bf16_is_fast_on_cpu = lambda: False
    run(main)
