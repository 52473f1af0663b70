"""What Slack shows: frozen contexts go through templates into validated messages and modals."""

from oombot.views.cards import Mode, Views
from oombot.views.contexts import Event, Evidence, Fact, Run
from oombot.views.escaping import environment
from oombot.views.forms import Choice
from oombot.views.validation import problems_of

__all__ = ["Choice", "Event", "Evidence", "Fact", "Mode", "Run", "Views", "environment", "problems_of"]
