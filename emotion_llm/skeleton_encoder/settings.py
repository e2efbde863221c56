"""The encoders to choose from.

settings, told apart by `kind`  ->  settings.build(layouts): SkeletonEncoder
"""

from typing import Annotated

from pydantic import Field

from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.st_gcn import StGcnSettings

EncoderSettings = Annotated[CtrGcnSettings | StGcnSettings, Field(discriminator="kind")]
"""Settings of one encoder. `kind` is saved with them and selects the class when they are read back."""
