"""What altering the training rows, or the trained model, does to the attribute: each cure is tried, none is advised unmeasured."""

from proxyaudit.channels.cures.estimate import follow_up
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel("cures", 70, (Question("cure"),), follow_up=follow_up)
