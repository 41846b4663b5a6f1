"""Compiled kernels: bundles of arrays go by address, and kernels inside of kernels are optimized once.

To numba a NamedTuple is the words of all its arrays, about 500 of them for `World`: each call passes them, each access
counts references to arrays that nobody would free, and the compiler has to see through all that. So the ways in from
Python (`compiled.CALLED`) put their bundles on the stack, as structures of arrays, and hand on their addresses
(`bundled`). Kernels read the same attributes as when they are interpreted. Arrays read from a bundle are not counted:
whoever called from Python keeps them alive until the kernel returns. So no kernel may return one of them; what kernels
return (`Pool`) stays a tuple, counted as usual.

By default numba optimizes every function together with all that it calls, so what is deep inside is optimized over and
over. `InnerCompiler` leaves functions as they were lowered; the ways in are optimized with all that is inside of them.

Only `compiled` may import this module: it loads numba.
"""
# What numba is made of has no types:
# mypy: allow-untyped-calls, allow-untyped-decorators, allow-subclassing-any

from __future__ import annotations

from hashlib import sha256
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba import _dynfunc  # type: ignore[attr-defined]  # our stub of numba is of what everybody may use
from numba.core import cgutils, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.datamodel import models
from numba.core.extending import infer_getattr, intrinsic, lower_getattr_generic, register_model
from numba.core.typed_passes import NativeLowering
from numba.core.typing.templates import AttributeTemplate

COUNTED = ("Pool",)
"""Tuples that kernels return."""
_ADDRESS = ir.IntType(8).as_pointer()


class Bundle(types.Type):
    """The address of a structure with the members of a NamedTuple: (name, type) each."""

    def __init__(self, name: str, members: tuple[tuple[str, types.Type], ...]) -> None:
        self.members = members
        self.position = {member: position for position, (member, _) in enumerate(members)}
        super().__init__(name=f"{name}_{sha256(repr(members).encode()).hexdigest()[:12]}")

    def layout(self, context: Any) -> ir.LiteralStructType:
        """The structure at the address."""
        return ir.LiteralStructType([context.get_value_type(kind) for _, kind in self.members])


@register_model(Bundle)
class _Address(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Bundle) -> None:
        super().__init__(manager, kind, _ADDRESS)


@infer_getattr
class _Members(AttributeTemplate):
    key = Bundle

    def generic_resolve(self, bundle: Bundle, name: str) -> types.Type | None:  # type: ignore[override]  # it has no types
        return dict(bundle.members).get(name)


@lower_getattr_generic(Bundle)
def _member(context: Any, builder: Any, bundle: Bundle, value: Any, name: str) -> Any:
    """Read a member. Of arrays the owner is left out, which makes counting references to them nothing at all."""
    position = bundle.position[name]
    structure = builder.bitcast(value, bundle.layout(context).as_pointer())
    found = builder.load(cgutils.gep_inbounds(builder, structure, 0, position))
    kind = bundle.members[position][1]
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value=found)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return found


def _bundle(kind: types.Type) -> types.Type:
    """What becomes of an argument of this type."""
    if isinstance(kind, types.Array):
        return kind.copy(readonly=False)  # or else kernels are compiled twice; none writes to what may only be read
    if not isinstance(kind, types.NamedTuple | types.NamedUniTuple) or kind.instance_class.__name__ in COUNTED:
        return kind
    names = zip(kind.fields, kind.types, strict=True)
    return Bundle(kind.instance_class.__name__, tuple((name, _bundle(member)) for name, member in names))


def _put(context: Any, builder: Any, given: Any, kind: types.Type, value: Any) -> Any:
    """A value of type `given` as `kind`: what it holds goes onto the stack."""
    if not isinstance(kind, Bundle):
        return value
    place = cgutils.alloca_once(builder, kind.layout(context))
    for position, (member, (_, wanted)) in enumerate(zip(given.types, kind.members, strict=True)):
        put = _put(context, builder, member, wanted, builder.extract_value(value, position))
        builder.store(put, cgutils.gep_inbounds(builder, place, 0, position))
    return builder.bitcast(place, _ADDRESS)


@intrinsic
def bundled(_typing: Any, given: Any) -> Any:
    """The arguments of a kernel, all NamedTuples among them on the stack of the caller."""
    kinds = tuple(_bundle(kind) for kind in given.types)

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        put = []
        for position, (member, kind) in enumerate(zip(given.types, kinds, strict=True)):
            value = builder.extract_value(arguments[0], position)
            if not isinstance(kind, Bundle):
                context.nrt.incref(builder, member, value)
            put.append(_put(context, builder, member, kind, value))
        return context.make_tuple(builder, signature.return_type, put)

    return types.Tuple(kinds)(given), generated


class _Lowered(JITCodeLibrary):
    """Code that is part of other code only: neither optimized nor run by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """As usual, but nothing is made that could be run."""

    _name = "inner_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Lowered(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        lowered, name = state.cr, state.func_id.func_name
        stand_in = _dynfunc.make_function(lowered.fndesc.lookup_module(), name, "", 0, lowered.env, (state.library,))
        state.targetctx.insert_user_function(stand_in, lowered.fndesc, [state.library])
        state.cr = lowered._replace(cfunc=stand_in)
        return True


class InnerCompiler(CompilerBase):
    """For functions that only other compiled functions call."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("inner")
        for step, why in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            passes.add_pass(_Lowering if step is NativeLowering else step, why)
        passes.finalize()
        return [passes]
