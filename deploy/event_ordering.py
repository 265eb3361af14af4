"""How the Prefect server orders the events that its automations act on: PREFECT_SERVER_EVENTS_CAUSAL_ORDERING is this.

An event of a run says which one it follows, and waits until the server has seen that one, for 15 minutes at most.
Prefect 3.8.8 remembers in memory what it has seen: after a restart of the server, or of its database, the news that a
run has crashed waits for an event that does not come again, and the automation that starts the run again waits with it.
One server sees events in their order, so a wait of seconds does.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.server.events.ordering import memory

PATIENCE = timedelta(seconds=10)

memory.PRECEDING_EVENT_LOOKBACK = PATIENCE  # type: ignore[attr-defined]
CausalOrdering = memory.CausalOrdering
