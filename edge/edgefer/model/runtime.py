"""The TFLite runtime: LiteRT, or tflite-runtime where there is no LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from edgefer.errors import MissingLibrary, ModelError
from edgefer.native_stderr import silence_native_stderr


class Interpreter(Protocol):
    """The methods that both runtimes share; see TensorFlow's ``tf.lite.Interpreter``."""

    # ruff: noqa: D102
    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def resize_tensor_input(self, index: int, shape: Any) -> None: ...
    def set_tensor(self, index: int, value: Any) -> None: ...
    def get_tensor(self, index: int) -> Any: ...
    def invoke(self) -> None: ...


def open_interpreter(model: bytes, threads: int, where: Path) -> Interpreter:
    """An interpreter of a flatbuffer, ready to be invoked; errors name the file ``where``.

    Raises `MissingLibrary` where no runtime is installed, `ModelError` for bytes that it cannot run.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter as Runtime
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter as Runtime
        except ImportError:
            raise MissingLibrary(
                "no TFLite runtime: 'pip install ai-edge-litert' (64-bit), or 'pip install tflite-runtime' (32-bit, Python 3.11 or older)"
            ) from None
    try:
        with silence_native_stderr():
            interpreter: Interpreter = Runtime(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{where}: not a TFLite model this runtime can run: {str(error).splitlines()[0]}") from None
    return interpreter
