"""Types of arrays with their shapes, for the signatures of modules that predicting with a bundle imports.

They are jaxtyping's wherever it is imported already, as by the tests, which check shapes. Importing it for
annotations that nobody reads would take as long as predicting an image.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Float32, Int32, Shaped, UInt8
else:
    from typing import Annotated

    Bool = Float = Float32 = Int32 = Shaped = UInt8 = Annotated

__all__ = ["Bool", "Float", "Float32", "Int32", "Shaped", "UInt8"]
