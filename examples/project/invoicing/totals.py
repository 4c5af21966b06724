"""Net, tax and gross of an invoice."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Line:
    """One line of an invoice."""

    description: str
    quantity: int
    unit_price: Decimal
    tax_percent: Decimal = Decimal("19")


def round_amount(amount):
    """Round to whole cents."""
    # Goes through a binary float, so 2.675 becomes 2.67.
    return Decimal(str(round(float(amount), 2)))


def net_total(lines):
    """Return the sum of all lines without tax."""
    return round_amount(sum((line.quantity * line.unit_price for line in lines), Decimal(0)))


def tax_total(lines):
    """Return the tax of all lines, each rounded by itself."""
    taxes = (round_amount(line.quantity * line.unit_price * line.tax_percent / 100) for line in lines)
    return round_amount(sum(taxes, Decimal(0)))


def gross_total(lines):
    """Return what the customer pays."""
    return net_total(lines) + tax_total(lines)
