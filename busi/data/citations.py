"""Whom to name where images of a published data set were used, and on what terms they may be."""

CITATIONS = {
    "busi": (
        'BUSI, by Al-Dhabyani, Gomaa, Khaled and Fahmy, "Dataset of breast ultrasound images", Data in Brief '
        "28 (2020) 104863, CC BY 4.0"
    ),
    "busbra": (
        'BUS-BRA, by Gómez-Flores, Gregorio-Calas and Coelho de Albuquerque Pereira, "BUS-BRA: A breast '
        'ultrasound dataset for assessing computer-aided diagnosis systems", Medical Physics 51 (2024), '
        "under its own permissive license, which asks for this citation"
    ),
}
"""By the short name of the data set; of those whose license was read."""
