"""Where a model computes, other than on the threads of the process that answers."""
