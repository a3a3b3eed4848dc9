"""A plan in words, as a colleague would explain it."""

from planners.plan import Plan


def explain(plan: Plan) -> str:
    """Return the plan's decisions as text, one paragraph a configuration."""
    lines = [f"Plan for {plan.dataset} by recipe {plan.recipe}."]
    for decision in plan.decisions:
        where = f"{decision.configuration}: " if decision.configuration else ""
        lines.append(f"- {where}{decision.parameter} {decision.value}, because {decision.because} ({decision.rule}).")
    return "\n".join(lines) + "\n"
