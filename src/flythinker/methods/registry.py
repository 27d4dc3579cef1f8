"""The compared methods by the names that configs use."""

from flythinker.methods.base import Method
from flythinker.methods.coconut import Coconut
from flythinker.methods.cos import CoS
from flythinker.methods.cot import CoT
from flythinker.methods.deep import Deep
from flythinker.methods.distilled import Distilled
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.late import Late
from flythinker.methods.learned import Learned
from flythinker.methods.nextquill import NextQuill
from flythinker.methods.nonpers import NonPers
from flythinker.methods.oppu import OPPU, PersonalReasoner
from flythinker.methods.rag import RAG
from flythinker.methods.restpg import RestPG
from flythinker.methods.sft import SFT
from flythinker.methods.trsr import TRSR

METHODS: dict[str, type[Method]] = {
    "nonpers": NonPers,
    "rag": RAG,
    "cos": CoS,
    "sft": SFT,
    "trsr": TRSR,
    "nextquill": NextQuill,
    "cot": CoT,
    "restpg": RestPG,
    "coconut": Coconut,
    "flythinker": FlyThinker,
    "deep": Deep,
    "late": Late,
    "learned": Learned,
    "distilled": Distilled,
    "oppu": OPPU,
    "personal-reasoner": PersonalReasoner,
}
