"""Training: state, the pure step, its execution on devices, and the one loop around it.

The way of a batch, from an array or a file (`data`) to the update, top-down:

prepare.py            checks, settles what is `auto`, puts the examples on the devices once
loop.py               epoch after epoch: records, looks, checkpoints; an engine does the epoch
program.py            an epoch, compiled: a scan over shuffled indices, spread over the devices
../data/batches.py    gathers a batch by its indices, as model inputs
step.py               the objective's gradient at the batch, then optax: the next `TrainState`

`grid.py` and `engines.py` run many members as one program, `streamed.py` what no device holds.
"""
