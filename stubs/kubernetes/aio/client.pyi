from types import TracebackType
from typing import Any, Self

class Configuration:
    host: str
    connection_pool_maxsize: int
    retries: int | None
    def __init__(self) -> None: ...

class RESTResponse:
    response: Any  # aiohttp's
    status: int
    reason: str | None
    async def read(self) -> bytes: ...

class ApiClient:
    configuration: Configuration
    user_agent: str
    def __init__(self, configuration: Configuration | None = ...) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    async def close(self) -> None: ...
    async def param_serialize(
        self,
        method: str,
        resource_path: str,
        path_params: dict[str, str] | None = ...,
        query_params: list[tuple[str, Any]] | None = ...,
        header_params: dict[str, str] | None = ...,
        body: Any = ...,
        post_params: Any = ...,
        files: Any = ...,
        auth_settings: list[str] | None = ...,
    ) -> tuple[str, str, dict[str, str], Any, Any]: ...
    async def call_api(
        self,
        method: str,
        url: str,
        header_params: dict[str, str] | None = ...,
        body: Any = ...,
        post_params: Any = ...,
        _request_timeout: Any = ...,
    ) -> RESTResponse: ...
