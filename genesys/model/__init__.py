"""The model around a design's block. Needs torch."""

from genesys.model.build import ModelShape, build_model, to_source, unit_class
from genesys.model.gam import GAM, Context

__all__ = ["GAM", "Context", "ModelShape", "build_model", "to_source", "unit_class"]
