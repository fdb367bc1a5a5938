"""Our cells as layers of other libraries: one module for each library, imported only when a layer is made.

A layer stores a cell's parameters where its library does, each a leaf with our name (W, U, b; in a stack 0/W), and
takes a step by ``cell.step``. Layers are made by ``as_linen`` and ``as_nnx`` of `jaxseq.interop.flax`, by
``as_equinox`` of `jaxseq.interop.equinox` and by ``as_haiku`` of `jaxseq.interop.haiku`.
"""
