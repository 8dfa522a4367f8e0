"""The protocols, a file each. A protocol is data, and says everything about itself.

Manifests, readers, tables and reports ask it; a new one is a file here and a line below. How each
number is computed stands in ``statistics``.
"""

from pmbench.scoring.protocols.base import HumanBaseline, Judgement, Protocol, Statistic
from pmbench.scoring.protocols.jnd import JND
from pmbench.scoring.protocols.two_afc import TWO_AFC

__all__ = ["JND", "PROTOCOLS", "TWO_AFC", "HumanBaseline", "Judgement", "Protocol", "Statistic"]

PROTOCOLS = {protocol.name: protocol for protocol in (TWO_AFC, JND)}
