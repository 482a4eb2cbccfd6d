"""Conducts sessions of language models: performs what they ask for, and remembers what came of it."""

from genesys.agents.briefing import bounds
from genesys.agents.conductor import Conducted, conduct
from genesys.agents.retrieval import Bm25Retriever, Document, Retriever, document_of, library_documents
from genesys.agents.workbench import BENCH_MODULES, Workbench

__all__ = [
    "BENCH_MODULES",
    "Bm25Retriever",
    "Conducted",
    "Document",
    "Retriever",
    "Workbench",
    "bounds",
    "conduct",
    "document_of",
    "library_documents",
]
