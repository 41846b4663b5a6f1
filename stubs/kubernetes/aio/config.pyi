from .client import Configuration

class ConfigException(Exception): ...

async def load_kube_config(
    config_file: str | None = ...,
    context: str | None = ...,
    client_configuration: Configuration | None = ...,
    persist_config: bool = ...,
) -> object: ...
def load_incluster_config(client_configuration: Configuration | None = ..., try_refresh_token: bool = ...) -> None: ...
