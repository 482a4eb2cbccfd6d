"""The model around a design's block. Needs torch."""

from genesys.model.build import ModelShape, build_model, to_source, unit_class
from genesys.model.gam import GAM, Context
from genesys.model.size import TunedSize, tune_sizes

__all__ = ["GAM", "Context", "ModelShape", "TunedSize", "build_model", "to_source", "tune_sizes", "unit_class"]
