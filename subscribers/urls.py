"""Addresses of this package. `token` is a signed link's key (subscribers.tokens)."""

from django.urls import path

from . import views

app_name = "subscribers"
urlpatterns = [
    path("subscribe/", views.subscribe, name="subscribe"),
    path("subscribe/check-your-mail/", views.check_mail, name="check_mail"),
    path("link/", views.request_link, name="request_link"),
    path("link/check-your-mail/", views.link_sent, name="link_sent"),
    path("confirm/<str:token>/", views.confirm, name="confirm"),
    path("preferences/<str:token>/", views.preferences, name="preferences"),
    path("preferences/<str:token>/pause/", views.pause, name="pause"),
    path("preferences/<str:token>/resume/", views.resume, name="resume"),
    path("preferences/<str:token>/address/", views.address, name="address"),
    path("preferences/<str:token>/mute/", views.mute, name="mute"),
    path("preferences/<str:token>/topics/add/", views.add_topic, name="add_topic"),
    path("preferences/<str:token>/topics/<int:pk>/", views.topic, name="topic"),
    path(
        "preferences/<str:token>/topics/<int:pk>/delete/", views.delete_topic, name="delete_topic"
    ),
    path("unsubscribe/<str:token>/", views.unsubscribe, name="unsubscribe"),
    path("unsubscribe/<str:token>/undo/", views.undo_unsubscribe, name="undo_unsubscribe"),
    path("unsubscribe/<str:token>/note/", views.goodbye, name="goodbye"),
    path("back/<str:token>/", views.come_back, name="come_back"),
    path("moved/<str:token>/", views.move_back, name="move_back"),
    path("preferences/<str:token>/widen/", views.widen, name="widen"),
    path("address/<str:token>/", views.change_address, name="change_address"),
    path("outbox/", views.outbox_list, name="outbox"),
    path("outbox/<str:name>/", views.outbox_mail, name="outbox_mail"),
    path("outbox/<str:name>/html/", views.outbox_html, name="outbox_html"),
]
