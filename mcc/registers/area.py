"""Which unit answers for which post, and which posts are a unit's: from the registers alone."""

from __future__ import annotations

from mcc.registers.models import Post, Unit


def unit_of(post_id: str) -> Unit | None:
    """The Polsek of the post's registered kelurahan; None when the post is not registered so."""
    return Unit.objects.filter(kecamatan__kelurahan__post__post_id=post_id).first()


def is_in_area(post_id: str, unit: Unit) -> bool:
    """Whether a unit answers for a post. The Polresta answers for all of them."""
    if unit.kind == Unit.Kind.POLRESTA:
        return True
    return Post.objects.filter(post_id=post_id, kelurahan__kecamatan=unit.kecamatan_id).exists()


def posts_of(unit: Unit) -> frozenset[str] | None:
    """The ids of a unit's posts; None when it answers for all."""
    if unit.kind == Unit.Kind.POLRESTA:
        return None
    ids = Post.objects.filter(kelurahan__kecamatan=unit.kecamatan_id).values_list(
        "post_id", flat=True
    )
    return frozenset(ids)
