"""`flythinker`, with FSDP on CPU processes.

accelerate shards on accelerators only, PyTorch anywhere. What is changed here is accelerate's
decision alone; sharding, collectives (gloo) and checkpoints are real.
"""

import os

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from flythinker.cli.main import main

plain_init = AcceleratorState.__init__


def init(
    self: AcceleratorState, *args: object, fsdp_plugin: object = None, **kwargs: object
) -> None:
    known = self._shared_state != {}
    plain_init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if not known and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = init

if __name__ == "__main__":
    main()
