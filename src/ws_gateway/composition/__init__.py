"""Each side of the gateway, joined from its concrete classes; `bootstrap` joins the sides."""
