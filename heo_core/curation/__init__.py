"""From a source of rows to a dataset: scan, drop duplicates, split, measure leaks, and copy off equilibrium."""

from heo_core.curation.dataset import CuratedDataset, Member, Rejection, curate
from heo_core.curation.scan import Progress
from heo_core.curation.sources import open_source
from heo_core.curation.split import Leak

__all__ = ["CuratedDataset", "Leak", "Member", "Progress", "Rejection", "curate", "open_source"]
