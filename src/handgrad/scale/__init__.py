"""The same training over many processes and machines, on Ray. docs/scaling.md says when, and what it costs."""

from handgrad.scale.encoders import encoders as encoders
from handgrad.scale.run import fit as fit
