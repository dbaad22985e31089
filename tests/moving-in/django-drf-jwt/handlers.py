"""What this project made of drf-jwt's JWT_PAYLOAD_HANDLER and JWT_RESPONSE_PAYLOAD_HANDLER."""

from rest_framework_jwt.utils import jwt_create_payload


def payload(user):
    return jwt_create_payload(user) | {
        "email": user.email,
        "is_staff": user.is_staff,
        "name": f"{user.first_name} {user.last_name}",
        "tenant": "forum",
    }


def response(token, user=None, request=None, issued_at=None):
    return {"token": token, "user": {"id": user.pk, "username": user.get_username(), "email": user.email}}
