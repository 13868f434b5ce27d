"""The component: what world `map-operator` wants, in terms of the operator.

Must never do a record's work: that is in enrich.py, which is tested without a component. The modules that the operator
needs are imported here, while the component is built; there are no files to import from when it runs.
"""

import functools
import gc

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports import lifecycle
from wit_world.imports import log, types

from enrich import BadConfig, Enrich
from frame import VALUE


def told(call):
    """Logs an exception that nobody expected before it traps: its text is all that is left of the instance."""

    @functools.wraps(call)
    def calling(*arguments):
        try:
            return call(*arguments)
        except Err:
            raise
        except BaseException as error:
            log.log(log.Level.ERROR, _described(error))
            raise

    return calling


def _described(error: BaseException) -> str:
    # The module `traceback` would read the source's lines, and there are no files.
    lines = [f"{type(error).__name__}: {error}"]
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        lines.append(f"  {code.co_filename.rsplit('/', 1)[-1]}:{at.tb_lineno} in {code.co_qualname}")
        at = at.tb_next
    return "\n".join(lines)


_NOTHING = types.Answer(b"", [])
_operator: Enrich


class Lifecycle(wit_world.exports.Lifecycle):
    @told
    def describe(self) -> lifecycle.Description:
        return lifecycle.Description(
            kind=lifecycle.Kind.MAP,
            columns=[VALUE],
            ports=[lifecycle.Port("out", None)],
            states=[],
            unordered=False,
            capabilities=[],
            properties=[],
        )

    @told
    def init(self, context: lifecycle.Context) -> None:
        global _operator
        try:
            _operator = Enrich(context.config)
        except BadConfig as error:
            raise Err(types.Failure("bad-config", str(error), False)) from None
        # The interpreter, the modules and the table stay for ever: the collector need not look at them each time.
        gc.freeze()

    @told
    def before_barrier(self, checkpoint: int) -> types.Answer:
        return _NOTHING

    @told
    def end_of_input(self) -> types.Answer:
        return _NOTHING


class Map(wit_world.exports.Map):
    @told
    def apply(self, batch: bytes, at: types.Moment) -> types.Answer:
        rows, rejected = _operator.apply(batch)
        return types.Answer(rows, [types.Rejection(*one) for one in rejected])
