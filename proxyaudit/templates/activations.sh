#!/bin/sh
# A proxyaudit audit of bare activations: is the attribute still inside a model of your own?
# Put your own files and columns where it says EDIT, then:   sh <this file>
# Options with a '#' in front are optional and show their default.
#
# Save activations from any framework, one tensor (rows, units) for each place in the model:
#   safetensors.numpy.save_file({"layer3": acts, "pooled": more}, "real.safetensors")
# Files may be numpy files, lists of shards, or folders with a file for each layer, batch or prompt; --pool makes one vector of a row's
# tokens, --memory bounds what the audit takes, and --plan shows rows, memory and time beforehand (guide own-data, "Your own activations").
# The labels file holds the same rows in the same order, and at least the sensitive column.

set -- --activations real=real.safetensors              # EDIT: NAME=FILE of the model trained on real data
set -- "$@" --activations vendor=vendor.safetensors     # EDIT: one more line for each other model, over the same rows
set -- "$@" --labels people.csv                         # EDIT: CSV or parquet
set -- "$@" --attribute sex                             # EDIT: the sensitive column; one more line for each other
set -- "$@" --real real                                 # which of the names the others are compared with
# set -- "$@" --group person                            # a column whose rows belong together (default: none)
# set -- "$@" --condition-on label                      # a column that legitimately explains the attribute (default: none)
# set -- "$@" --leak-margin 0.02                        # the linear leak that matters
# set -- "$@" --nonlinear-margin 0.10                   # the same of what a non-linear reader gains beyond
# set -- "$@" --seed 0                                  # root of all randomness
# set -- "$@" --out reports                             # where the results go
set -- "$@" --name my-activations                       # folder name of the results: reports/my-activations/<run id>/

exec proxyaudit probe "$@"
