"""The gRPC side of the daemon: services that translate, call the ledger or ask the store, and answer; and the push hub.

`RpcServer` serves; `Hub` carries news to watch streams; `Departures` is the daemon's Pusher, in front of it;
`RpcSettings` holds limits and pace.
"""

from allocator.rpc.departures import Departures
from allocator.rpc.hub import Hub, StreamCounts
from allocator.rpc.interceptor import OnRequest
from allocator.rpc.ports import Reads
from allocator.rpc.server import SERVICES, RpcServer
from allocator.rpc.settings import RpcSettings

__all__ = ["SERVICES", "Departures", "Hub", "OnRequest", "Reads", "RpcServer", "RpcSettings", "StreamCounts"]
