"""The routes of one model, and those that list models: all are under a project's policies."""

OF_A_MODEL = [
    ("GET", "/api/models/{}/metadata"),
    ("GET", "/api/models/{}/ready"),
    ("POST", "/api/models/{}/prediction"),
    ("POST", "/api/models/{}/prediction/batch"),
    ("GET", "/api/models/{}/versions/{version}/metadata"),
    ("GET", "/api/models/{}/versions/{version}/ready"),
    ("POST", "/api/models/{}/versions/{version}/prediction"),
    ("POST", "/api/models/{}/versions/{version}/prediction/batch"),
    *(
        (method, f"/v2/models/{{}}{version}{end}")
        for version in ("", "/versions/{version}")
        for method, end in [
            ("GET", ""),
            ("GET", "/ready"),
            ("GET", "/config"),
            ("GET", "/stats"),
            ("POST", "/infer"),
        ]
    ),
]
LISTS = [
    ("GET", "/api/models"),
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/models/stats"),
    ("GET", "/openapi.json"),
    ("GET", "/openapi.yaml"),
]
