"""A hundred models that differ in nothing but their names: constant_0 to constant_99."""

from benchmarks.models import ConstantModel

COUNT = 100

globals().update(
    {
        f"Constant{number}": type(
            f"Constant{number}", (ConstantModel,), {"qualified_name": f"constant_{number}"}
        )
        for number in range(COUNT)
    }
)
