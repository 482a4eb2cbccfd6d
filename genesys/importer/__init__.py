"""Read designs in the published format (`implementation.json`) into unit trees, without running them."""

from genesys.importer.design import ImportedDesign, import_designs

__all__ = ["ImportedDesign", "import_designs"]
