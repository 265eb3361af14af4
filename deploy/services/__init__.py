"""The services that heo runs on this machine: Postgres, a Prefect server and workers, kept in one home folder.

up(settings)               start what does not run, safe to repeat
ensure_services(settings)  the same for a flow that runs in this process, without workers
down(settings)             stop everything of this home
status(settings)           how each service is
locate(settings)           where they are, without starting anything
point_prefect(settings)    let Prefect in this process use the server, without starting anything
"""

from deploy.services.stack import Services, ServiceStatus, down, ensure_services, locate, point_prefect, status, up

__all__ = ["ServiceStatus", "Services", "down", "ensure_services", "locate", "point_prefect", "status", "up"]
