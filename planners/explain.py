"""A plan in words, as a colleague would explain it."""

from planners.plan import Decision, Plan


def explain(plan: Plan) -> str:
    """Return the reasons for a plan's numbers as text: the dataset first, then each configuration."""
    lines = [f"{plan.dataset}: plan by recipe {plan.recipe}", ""]
    lines += [_sentence(decision) for decision in plan.decisions if decision.configuration is None]
    for configuration in plan.configurations:
        about = [decision for decision in plan.decisions if decision.configuration == configuration.name]
        lines += ["", _title(plan, configuration.name)]
        lines += [_sentence(decision) for decision in about]
        if configuration.previous is not None:
            lines.append(f"As 3d_fullres, but it also sees what {configuration.previous} predicted.")
    return "\n".join(lines) + "\n"


def _title(plan: Plan, name: str) -> str:
    return f"{name} (trained first)" if name == plan.configurations[0].name else f"{name} (on request)"


def _sentence(decision: Decision) -> str:
    rejected = f" Rejected: {decision.rejected}." if decision.rejected else ""
    reason = f"{_capital(decision.because)}.{rejected} [{decision.rule}]"
    return f"- {_capital(decision.parameter)}: {decision.value}. {reason}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
