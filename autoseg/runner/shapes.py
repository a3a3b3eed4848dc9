"""Stand-ins for jaxtyping's annotations: an exported folder runs without it, and shapes are checked in tests alone."""

from typing import Any


class Array:
    """What any of them is at run time: `Float32[np.ndarray, "z y x"]` is an array."""

    def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
        """Return the type without its shape."""
        return item[0]


Bool = Float32 = Float64 = Int16 = Int32 = Int64 = Integer = Real = Shaped = UInt8 = UInt16 = Array
