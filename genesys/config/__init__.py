"""YAML to frozen dataclasses."""

from genesys.config.designs import load_design
from genesys.config.run import (
    BudgetConfig,
    DesignersConfig,
    RunConfig,
    StorageConfig,
    StrategyConfig,
    VerifiersConfig,
    config_from_mapping,
    load_config,
    strategy,
)

__all__ = [
    "BudgetConfig",
    "DesignersConfig",
    "RunConfig",
    "StorageConfig",
    "StrategyConfig",
    "VerifiersConfig",
    "config_from_mapping",
    "load_config",
    "load_design",
    "strategy",
]
