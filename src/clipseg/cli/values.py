"""Values with parameters, as one word of a command line: `crop_blur:blur=5,background=0.2`; see `formats.values`."""

from clipseg.formats.values import named_values as named_values
from clipseg.formats.values import near as near
