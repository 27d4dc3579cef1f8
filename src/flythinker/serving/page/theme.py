"""How the page looks beside its style sheet: colours, light and dark, and type."""

from gradio.themes import Base, Color, LocalFont, sizes

_PINE = Color(
    "#eff6f5", "#dbebe9", "#b9d8d4", "#8fbfb9", "#649f98", "#468079", "#2c5f5a", "#244e4a",
    "#1d3f3c", "#163230", "#0c1e1c",
)  # fmt: skip
_PAPER = Color(
    "#fdfcfa", "#f8f6f1", "#ebe7df", "#d8d2c6", "#a8a093", "#78716a", "#57514a", "#413c37",
    "#2b2825", "#201e1c", "#161513",
)  # fmt: skip


def page_theme() -> Base:
    """The theme for Gradio."""
    sans = (LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    theme = Base(
        primary_hue=_PINE, secondary_hue=_PINE, neutral_hue=_PAPER, font=sans,
        radius_size=sizes.radius_md, text_size=sizes.text_md,
    )  # fmt: skip
    return theme.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="*neutral_50",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_padding="0px",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        checkbox_label_background_fill_dark="*neutral_800",
        checkbox_label_background_fill_hover_dark="*neutral_700",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )
