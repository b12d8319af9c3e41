"""What is to be stored for a wish, or for a whole set of them."""

from __future__ import annotations

from collections.abc import Sequence

from ws_gateway.control.register import Register
from ws_gateway.control.wishes import EXPLICIT, MOST_FAULTS, TopicChoice, Wish, together, way_of
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import Contradiction, Rejected
from ws_gateway.ports.store import Wanted
from ws_gateway.runtime.slices import one_by_one


class Resolution:
    """Makes of wishes what they come to, beside what stands already.

    Args:
        choice: finds the topic of a wish.
        register: what stands.
    """

    def __init__(self, choice: TopicChoice, register: Register) -> None:
        self._choice = choice
        self._register = register

    async def of(self, wish: Wish) -> Wanted:
        """Find the topic of a wish; one that stands keeps the category it was given.

        Else the same wish would become another one when the lists of instruments change.

        Raises:
            Rejected: it cannot be served as it stands.
        """
        topic, chosen_by = await self._choice.topic_of(wish)
        if wish.category is None:
            standing = self._register.standing(wish.requesting_service, topic)
            if (
                standing is not None
                and standing.chosen_by != EXPLICIT
                and self._choice.is_served(standing.topic)
            ):
                topic, chosen_by = standing.topic, standing.chosen_by
        return Wanted(topic, chosen_by, wish.delivery, wish.ttl_seconds)

    async def of_set(self, wishes: Sequence[Wish]) -> list[Wanted]:
        """Find the topics of a whole set; the same wish twice is one.

        Raises:
            Rejected: one of them cannot be served; it names a few more in words.
            Contradiction: two of them want the same topic in different ways.
        """
        found: dict[Topic, tuple[int, Wanted]] = {}
        refused: list[tuple[int, Rejected]] = []
        async for place, wish in one_by_one(list(enumerate(wishes))):
            try:
                wanted = await self.of(wish)
            except Rejected as exc:
                refused.append((place, exc))
                if len(refused) > MOST_FAULTS:
                    break
                continue
            if refused:
                continue
            before, other = found.setdefault(wanted.topic, (place, wanted))
            ways = [(one.delivery or Delivery.SHARED, one.ttl_seconds) for one in (other, wanted)]
            if ways[0] != ways[1]:
                raise Contradiction(
                    f"subscriptions {before} and {place} both want {wanted.topic.name}: one with "
                    f"{way_of(*ways[0])}, one with {way_of(*ways[1])}",
                    code="subscriptions_contradict",
                    field=f"subscriptions.{place}",
                    found=wanted.topic.name,
                )
        if refused:
            raise together(refused)
        return [wanted for _, wanted in found.values()]
