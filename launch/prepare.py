"""Motion files become corpora that training reads.

    python launch/prepare.py --corpus kdae --source DIR --output data       imports DIR to data/kdae
    python launch/prepare.py --corpus mine.json --source DIR                with a corpus definition of your own
    python launch/prepare.py --corpus kdae --source DIR --check             reads and reports, writes nothing
    python launch/prepare.py --list                                         the corpora that are known
    python launch/prepare.py --draw-layout FILE.bvh --layout-file mine.json   a layout from a file of yours
    python launch/prepare.py --preset demo                                  three synthetic corpora, written and imported

Exit status: 0 all is well; 2 nothing was done, one line says why; 3 done, but files were left out because something is wrong
with them, or files are missing (the report names them; files that the definition leaves out on purpose do not count).
"""

import sys

from emotion_llm.corpus.preparing import PRESETS, draw_layout_file, known_corpora_text, prepare_corpus, sources_of
from emotion_llm.runtime.console import parse_settings, run, say

LEFT_OUT_STATUS = 3


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    if settings.list:
        say(known_corpora_text())
    elif settings.draw_layout is not None:
        say(draw_layout_file(settings.draw_layout, settings.layout_file, settings.metres_per_unit))
    else:
        reports = [prepare_corpus(definition, source, settings) for definition, source in sources_of(settings)]
        sys.exit(LEFT_OUT_STATUS if any(report.faults for report in reports) else 0)


if __name__ == "__main__":
    run(main)
