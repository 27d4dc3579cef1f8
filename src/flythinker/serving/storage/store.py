"""What the server remembers: tenants' users, their documents, what was learned, and API keys."""

from flythinker.serving.storage.adapters import AdapterStore
from flythinker.serving.storage.base import Room as Room
from flythinker.serving.storage.documents import DocumentStore
from flythinker.serving.storage.documents import Page as Page
from flythinker.serving.storage.documents import StoredDocument as StoredDocument
from flythinker.serving.storage.indexes import IndexStore
from flythinker.serving.storage.keys import Key as Key
from flythinker.serving.storage.keys import KeyStore


class Store(DocumentStore, IndexStore, AdapterStore, KeyStore):
    """A database of users' writings. All methods may be called from any thread."""
